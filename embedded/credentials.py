"""The credentials of one stack: made once, kept in its state folder, shown to nobody."""

import secrets
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from embedded.layout import write_private
from ratchet.core.errors import SettingsError


def _token() -> str:
    return secrets.token_urlsafe(32)


def _access_key() -> str:
    return secrets.token_hex(10).upper()


def _signing_key() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    encoded = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return encoded.decode()


class S3Credential(BaseModel):
    model_config = ConfigDict(frozen=True)

    access_key: str = Field(default_factory=_access_key)
    secret_key: str = Field(default_factory=_token, repr=False)


class Credentials(BaseModel):
    """Who may do what. The object store has one identity for us, one for MLflow that sees its bucket alone, and one
    for the model servers that may only add to the payload log."""

    model_config = ConfigDict(frozen=True)

    stack_id: str = Field(default_factory=lambda: secrets.token_hex(16))
    """Not a secret: it marks the processes of this stack."""
    s3: S3Credential = Field(default_factory=S3Credential, repr=False)
    mlflow_s3: S3Credential = Field(default_factory=S3Credential, repr=False)
    serving_s3: S3Credential = Field(default_factory=S3Credential, repr=False)
    weed_signing_keys: tuple[str, str, str, str] = Field(
        default_factory=lambda: (_token(), _token(), _token(), _token()), repr=False
    )
    kubernetes_token: str = Field(default_factory=_token, repr=False)
    kfp_token: str = Field(default_factory=_token, repr=False)
    guard_token: str = Field(default_factory=_token, repr=False)
    mlflow_token: str = Field(default_factory=_token, repr=False)
    sensor_token: str = Field(default_factory=_token, repr=False)
    signing_key: str = Field(default_factory=_signing_key, repr=False)
    """PEM: signs models and the ledger's entries."""

    def trusted_keys(self) -> str:
        """PEM of the public half."""
        key = serialization.load_pem_private_key(self.signing_key.encode(), password=None).public_key()
        encoded = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        return encoded.decode()


def load_or_make_credentials(path: Path) -> Credentials:
    """The credentials in that file; the first time they are made. Data in the object store outlives them.

    What a file of an earlier version lacks is made and kept, so that the next process finds the same.
    """
    credentials, known = Credentials(), ""
    if path.is_file():
        try:
            known = path.read_text()
            credentials = Credentials.model_validate_json(known)
        except ValidationError:
            raise SettingsError(
                f"{path} is damaged. Restore a copy, or delete it: the next `ratchet up` makes new credentials; data "
                f"stays."
            ) from None
    if (whole := credentials.model_dump_json()) != known:
        write_private(path, whole)
    return credentials
