"""What somebody at the door is asked for."""

from typing import ClassVar

from unfold.forms import AuthenticationForm


class LoginForm(AuthenticationForm):
    """E-mail and password. Whether the address is unknown, the account closed or the password wrong is told to nobody."""

    error_messages: ClassVar[dict[str, str]] = dict.fromkeys(("invalid_login", "inactive"), "That e-mail and password do not match.")
