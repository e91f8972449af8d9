# The gateway. Build it from the root of the tree:
#   docker build -f docker/gateway.Dockerfile -t msgstore-gateway .
FROM debian:bookworm-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends make
COPY . /src
WORKDIR /src
RUN make deps && make clean && make install DESTDIR=/out
RUN mv "/out$(pg_config --bindir)/msgstore-gateway" /out/

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends libcivetweb1 libcjson1 libpq5 libssl3 zlib1g \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /out/msgstore-gateway /usr/local/bin/
ENV HOST=0.0.0.0
EXPOSE 8080
USER nobody
CMD ["msgstore-gateway"]
