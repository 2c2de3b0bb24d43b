"""How often logins failed. Platform table: it is asked before anybody is known, by all web processes."""

from django.db import models


class LoginRecord(models.Model):
    """Failures of one account from one address (`pair:`), of one account, or of one address; names are digests of whom they mean."""

    name = models.CharField(max_length=80, primary_key=True)
    failures = models.PositiveIntegerField(default=0)
    last_at = models.DateTimeField()
    blocked_until = models.DateTimeField(null=True)
    known_until = models.DateTimeField(null=True, help_text="A pair that logged in: strangers elsewhere do not hold it up.")

    class Meta:
        db_table = "login_records"
        indexes = [models.Index(fields=["last_at"], name="login_records_by_age")]

    def __str__(self) -> str:
        return self.name
