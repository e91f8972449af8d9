# PostgreSQL with the extension. Build from the root of the tree:
#   docker build -f docker/postgres.Dockerfile -t msgstore-postgres .
FROM postgres:15-bookworm AS build
WORKDIR /src
COPY test/deps test/
RUN test/deps extension
COPY . .
RUN make install GATEWAY=no ROUTER=no DOCS= DESTDIR=/out

FROM postgres:15-bookworm
RUN apt-get update \
    && apt-get install -y --no-install-recommends libidn2-0 libssl3 libutf8proc2 libxml2 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /out/usr/lib/postgresql /usr/lib/postgresql
COPY --from=build /out/usr/share/postgresql/15/extension /usr/share/postgresql/15/extension
COPY docker/gateway_role.sql /usr/local/share/msgstore/
COPY docker/create_extension.sh /docker-entrypoint-initdb.d/
# Over TCP: while the image creates the database, the server only listens on its
# Unix socket.
HEALTHCHECK --start-period=2m --interval=5s --timeout=3s \
    CMD pg_isready -q -h 127.0.0.1 -U "${POSTGRES_USER:-postgres}"
CMD ["postgres", "-c", "shared_preload_libraries=msgstore"]
