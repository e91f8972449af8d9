# The gateway. Build it from the root of the tree:
#   docker build -f docker/gateway.Dockerfile -t msgstore-gateway .
FROM debian:bookworm-slim AS build
WORKDIR /src
COPY test/deps test/
RUN test/deps gateway
COPY META.json ./
COPY src src
COPY gateway gateway
RUN make -C gateway install-gateway DESTDIR=/out

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends libcivetweb1 libcjson1 libgmime-3.0-0 libpq5 libssl3 zlib1g \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /out/usr/local/bin/ /usr/local/bin/
COPY docker/gateway_health /usr/local/bin/
ENV HOST=0.0.0.0
EXPOSE 8080
USER nobody
HEALTHCHECK --start-period=1m --interval=5s --timeout=3s CMD ["gateway_health"]
CMD ["msgstore-gateway"]
