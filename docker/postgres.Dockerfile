# PostgreSQL with the extension. Build from the root of the tree:
#   docker build -f docker/postgres.Dockerfile -t msgstore-postgres .
FROM postgres:15-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends make
COPY . /src
WORKDIR /src
RUN make deps && make clean && make install DESTDIR=/out

FROM postgres:15-bookworm
RUN apt-get update \
    && apt-get install -y --no-install-recommends libidn2-0 libssl3 libutf8proc2 libxml2 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /out/ /
COPY docker/gateway_role.sql /usr/local/share/msgstore/
COPY docker/create_extension.sh /docker-entrypoint-initdb.d/
CMD ["postgres", "-c", "shared_preload_libraries=msgstore"]
