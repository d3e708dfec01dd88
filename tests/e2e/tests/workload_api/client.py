# What a workload does with the Python client, as it comes from PyPI.
import threading

from spiffe import JwtSource, WorkloadApiClient, X509Source

with WorkloadApiClient() as client:
    print(client.fetch_x509_context().default_svid.spiffe_id)
    svid = client.fetch_jwt_svid(audience={"db.example"})
    print(svid.spiffe_id)
    print(client.validate_jwt_svid(svid.token, "db.example").spiffe_id)
    try:
        client.validate_jwt_svid(svid.token, "mq.example")
    except Exception as error:
        print("JwtSvidError" if "valid" in str(error).lower() or "jwt" in type(error).__name__.lower() else repr(error))
    assert client.fetch_x509_bundles() and client.fetch_jwt_bundles()

    serials, rotated = set(), threading.Event()

    def updated(context):
        serials.add(context.default_svid.leaf.serial_number)
        if len(serials) > 1:
            rotated.set()

    handler = client.stream_x509_contexts(updated, lambda error: None)
    assert rotated.wait(30)
    handler.cancel()
    print("rotated")

with X509Source() as source, JwtSource() as tokens:
    assert tokens.fetch_svid(audience={"db.example"})
    print(source.svid.spiffe_id)
