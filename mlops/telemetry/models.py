"""Counters that outlive the process that counts. A platform table: it tells of no customer."""

from django.db import models


class CounterValue(models.Model):
    """How often something has happened, in all processes together."""

    name = models.CharField(max_length=100)
    labels = models.CharField(max_length=300, help_text="The labels' values as a JSON list, in the order in which the counter names them.")
    value = models.PositiveBigIntegerField(default=0)

    class Meta:
        db_table = "counter_values"
        ordering = ("name", "labels")
        constraints = [models.UniqueConstraint(fields=["name", "labels"], name="one_value_per_counter_and_labels")]

    def __str__(self) -> str:
        return f"{self.name} {self.labels}"
