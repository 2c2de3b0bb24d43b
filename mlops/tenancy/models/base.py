"""The parent of every row that belongs to a customer."""

import uuid
from collections.abc import Iterable
from typing import Any, ClassVar, Self, TypeVar

from django.db import models
from django.db.models.expressions import Expression

from mlops.tenancy.context import NoCustomer, required

Row = TypeVar("Row", bound="TenantModel")


class CurrentCustomer(Expression):
    """The ambient customer, read when the query is compiled: a manager that raised earlier would break imports and forms."""

    output_field = models.UUIDField()

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        """The id as a parameter. Raises NoCustomer outside any scope, or where row-level security would silently hide every row."""
        if connection.vendor == "postgresql" and not connection.in_atomic_block:
            raise NoCustomer
        return "%s", (self.output_field.get_db_prep_value(required(), connection),)


class ForeignCustomer(ValueError):
    """A row was to be written for another customer than the ambient one."""


class TenantQuerySet(models.QuerySet[Row]):
    """Querysets of tenant models; bulk writes are held to the ambient customer as `save()` is."""

    def bulk_create(self, objs: Iterable[Row], *args: Any, **kwargs: Any) -> list[Row]:
        """Insert rows of the ambient customer. Raises ForeignCustomer for any other."""
        rows = list(objs)
        for row in rows:
            row.refuse_foreign_customer()
        return super().bulk_create(rows, *args, **kwargs)

    def update(self, **kwargs: Any) -> int:
        """Change rows of the ambient customer. Raises ForeignCustomer when they would become another's."""
        if {"customer", "customer_id"} & kwargs.keys():
            raise ForeignCustomer("A row cannot change its customer.")
        return super().update(**kwargs)

    update.alters_data = True  # type: ignore[attr-defined]  # keeps templates from calling it, as Django's own


class TenantManager(models.Manager[Row]):
    """Sees the ambient customer's rows and no others."""

    def get_queryset(self) -> TenantQuerySet[Row]:
        """Rows of the ambient customer; evaluating it outside any scope raises NoCustomer."""
        return TenantQuerySet(self.model, using=self._db).filter(customer_id=CurrentCustomer())


class TenantModel(models.Model):
    """A row of one customer. Subclasses with a `Meta` of their own inherit `TenantModel.Meta`."""

    append_only: ClassVar[bool] = False
    """Whether the database refuses updates and deletes of this table."""
    undeletable: ClassVar[bool] = False
    """Whether the database refuses deletes: evidence points at these rows."""
    frozen_fields: ClassVar[tuple[str, ...]] = ()
    """Fields whose value the database refuses to change after the insert."""
    settled_states: ClassVar[tuple[str, ...]] = ()
    settled_fields: ClassVar[tuple[str, ...]] = ()
    """Fields whose value the database refuses to change once `status` is one of the settled states."""
    held_by: ClassVar[str] = ""
    """A reference that, once set, keeps the row as it is: the database lets it give way only to what another one holds."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    customer = models.ForeignKey("tenancy.Customer", on_delete=models.PROTECT, default=required, editable=False, related_name="+")

    objects: ClassVar[TenantManager[Self]] = TenantManager()

    class Meta:
        abstract = True
        base_manager_name = "objects"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Write the row. Raises ForeignCustomer when it is another customer's: SQLite has no policy that would refuse it."""
        self.refuse_foreign_customer()
        super().save(*args, **kwargs)

    def refuse_foreign_customer(self) -> None:
        """Raise ForeignCustomer unless the row belongs to the ambient customer."""
        if self.customer_id != required():
            raise ForeignCustomer(f"{type(self).__name__} belongs to another customer than the one in scope.")
