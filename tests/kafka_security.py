"""A broker that only those with a password may reach, over TLS with a certificate of a CA that only this test knows."""

from __future__ import annotations

from pathlib import Path

import trustme
from cryptography.hazmat.primitives import serialization

from schemas.kafka_settings import KafkaSettings
from tests.testbed.kafka_broker import Broker

USER, PASSWORD = "sluiceway", "correct horse, battery"
_MODULE = "org.apache.kafka.common.security.plain.PlainLoginModule"


def protected_broker(folder: Path) -> tuple[Broker, Path]:
    """A broker whose one listener is SASL_SSL with PLAIN, not started yet, and the file of its CA's certificate."""
    folder.mkdir(parents=True)
    authority = trustme.CA()
    ca_file = folder / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    issued = authority.issue_cert("127.0.0.1")
    key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None)
    # Kafka reads keys in this form only.
    pkcs8 = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    store = folder / "broker.pem"
    store.write_bytes(pkcs8 + b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    properties = {
        "listeners": "SASL_SSL://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": "SASL_SSL://127.0.0.1:{port}",
        "inter.broker.listener.name": "SASL_SSL",
        "sasl.enabled.mechanisms": "PLAIN",
        "sasl.mechanism.inter.broker.protocol": "PLAIN",
        "listener.name.sasl_ssl.plain.sasl.jaas.config": (
            f'{_MODULE} required username="{USER}" password="{PASSWORD}" user_{USER}="{PASSWORD}";'
        ),
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(store.resolve()),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(ca_file.resolve()),
    }
    return Broker(folder / "kafka", properties), ca_file


def protected_settings(broker: Broker, ca_file: Path, password_file: Path) -> KafkaSettings:
    """What our own side needs to reach it."""
    return KafkaSettings(
        bootstrap_servers=(broker.bootstrap,), security_protocol="SASL_SSL", sasl_mechanism="PLAIN",
        sasl_username=USER, sasl_password_file=password_file, ssl_cafile=ca_file, replication_factor=1,
        min_insync_replicas=1, partitions=1, delivery_timeout_s=30,
    )  # fmt: skip
