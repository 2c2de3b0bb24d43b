"""E-mail addresses that letters can be sent to."""

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.utils.encoding import punycode


def deliverable(address: str) -> str:
    """The address in ASCII. Raises ValidationError for what is none, and for a domain that has no ASCII form (IDNA)."""
    validate_email(address)
    try:
        plain = in_ascii(address)
    except UnicodeError:
        raise ValidationError("The domain of this address cannot be written in ASCII, so no letter reaches it.") from None
    validate_email(plain)  # a full-width at sign becomes a second one
    return plain


def in_ascii(address: str) -> str:
    """The address with its domain as mail servers write it. Raises UnicodeError where a label is empty or longer than 63 characters."""
    user, _, domain = address.rpartition("@")
    return f"{user}@{punycode(domain)}"
