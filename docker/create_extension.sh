#!/bin/sh
# create_extension.sh: the image runs this once, when it creates the database.
#
# Without GATEWAY_PASSWORD the gateway's role has no password and cannot log in.
set -eu
psql -X -v ON_ERROR_STOP=1 -v password="${GATEWAY_PASSWORD:-}" \
    -U "$POSTGRES_USER" -d "$POSTGRES_DB" <<'END'
CREATE EXTENSION msgstore;
\i /usr/local/share/msgstore/gateway_role.sql
ALTER ROLE msgstore_gateway PASSWORD :'password';
END
