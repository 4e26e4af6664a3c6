"""Keys for tests, made anew in each process: signing with them, and trusting them."""

from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ratchet.adapters.ec_keys import EcSigner, EcTrustedKeys, public_pem
from ratchet.settings import Settings

KEY = ec.generate_private_key(ec.SECP256R1())
OTHER_KEY = ec.generate_private_key(ec.SECP256R1())
SIGNER, OTHER_SIGNER = EcSigner(KEY), EcSigner(OTHER_KEY)
TRUSTED = EcTrustedKeys((KEY.public_key(),))


def key_files(folder: Path, *keys: ec.EllipticCurvePrivateKey) -> Settings:
    """Settings whose signing key is the first of these, and that trust all of them."""
    secret, public = folder / "signing_key.pem", folder / "trusted_keys.pem"
    secret.write_bytes(
        keys[0].private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    public.write_bytes(b"".join(public_pem(key.public_key()) for key in keys))
    return Settings(signing_key_file=str(secret), trusted_keys_file=str(public))
