-- A role for the gateway: may store and read, and set the tenant of each request.
CREATE ROLE msgstore_gateway LOGIN;
SELECT msgstore.grant_access('msgstore_gateway', 'ingest'),
       msgstore.grant_access('msgstore_gateway', 'read');
GRANT SET ON PARAMETER msgstore.tenant_id, msgstore.owner TO msgstore_gateway;
