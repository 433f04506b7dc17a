"""The S3 server and the proxy that tests use behave like S3 where the product depends on it."""

from dataclasses import replace

import pytest
from botocore.exceptions import ClientError
from support.s3_proxy import Fault, first, proxied
from support.servers import s3


def test_a_write_that_must_be_new_is_refused_when_the_object_exists() -> None:
    server = s3()
    bucket, client = server.new_bucket(), server.client()
    client.put_object(Bucket=bucket, Key="a", Body=b"first", IfNoneMatch="*")

    with pytest.raises(ClientError, match="PreconditionFailed"):
        client.put_object(Bucket=bucket, Key="a", Body=b"second", IfNoneMatch="*")

    assert client.get_object(Bucket=bucket, Key="a")["Body"].read() == b"first"


def test_a_wrong_signature_is_refused() -> None:
    server = s3()
    bucket = server.new_bucket()

    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        replace(server, secret_key=server.secret_key[1:]).client().list_objects_v2(Bucket=bucket)


@pytest.mark.parametrize("fault", [Fault.BUSY, Fault.RESET, Fault.LOST_ANSWER, Fault.BUSY_AFTER])
def test_a_client_that_tries_again_gets_through_the_faults_of_the_proxy(fault: Fault) -> None:
    server = s3()
    bucket = server.new_bucket()
    with proxied(server.url) as proxy:
        proxy.fault = first(fault, of="PUT")
        server.at(proxy.url).client().put_object(Bucket=bucket, Key="a", Body=b"content")

        assert proxy.count("PUT") == 2
    assert server.client().get_object(Bucket=bucket, Key="a")["Body"].read() == b"content"
