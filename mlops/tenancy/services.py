"""Writes on customers, members and keys, each with its audit event in the same transaction."""

from datetime import datetime
from uuid import UUID

from django.db import transaction

from mlops.audit.services import record
from mlops.tenancy.models import ApiKey, Customer, Membership, User
from mlops.tenancy.principals import acting, new_secret
from mlops.tenancy.roles import Principal, Role, system

DEMO_CUSTOMER = UUID("00000000-0000-0000-0000-000000000001")


def create_customer(*, name: str, customer_id: UUID | None = None, at: datetime) -> Customer:
    """Create a tenant, with its scheduled jobs. Raises IntegrityError when the id is taken."""
    from mlops.jobs.schedules import install_defaults

    with transaction.atomic():
        customer = Customer(name=name) if customer_id is None else Customer(id=customer_id, name=name)
        customer.save(force_insert=True)
        with acting(system(customer.pk)):
            record(action="customer.created", target=customer, label=name, at=at, after={"name": name})
        install_defaults(customer=customer)
    return customer


def create_member(
    *, customer: Customer, email: str, role: Role, password: str | None, at: datetime, by: Principal | None = None
) -> Membership:
    """Make the person a member with this role, creating the account if it is new; an existing account keeps its password."""
    with transaction.atomic(), acting(by or system(customer.pk)):
        user = User.objects.filter(email=email.lower()).first() or User.objects.create_user(email, password)
        before = Membership.objects.filter(customer=customer, user=user).first()
        membership, _ = Membership.objects.update_or_create(customer=customer, user=user, defaults={"role": role})
        record(
            action="member.set",
            target=membership,
            label=email,
            at=at,
            before={"role": before.role} if before else {},
            after={"role": role.value},
        )
    return membership


def create_api_key(
    *,
    customer: Customer,
    role: Role,
    name: str,
    user: User | None,
    at: datetime,
    expires_at: datetime | None = None,
    by: Principal | None = None,
) -> tuple[ApiKey, str]:
    """A new key and, once, its secret."""
    secret, prefix, digest = new_secret()
    with transaction.atomic(), acting(by or system(customer.pk)):
        key = ApiKey.objects.create(customer=customer, user=user, name=name, role=role, prefix=prefix, digest=digest, expires_at=expires_at)
        record(action="key.created", target=key, label=str(key), at=at, after={"role": role.value, "name": name})
    return key, secret


def revoke_api_key(*, key: ApiKey, at: datetime, by: Principal) -> None:
    """End a key at once; revoking twice changes nothing."""
    by.authorize("key.manage")
    with transaction.atomic():
        if ApiKey.objects.filter(pk=key.pk, customer_id=by.customer_id, revoked_at=None).update(revoked_at=at):
            record(action="key.revoked", target=key, label=str(key), at=at, after={"revoked_at": at.isoformat()})
