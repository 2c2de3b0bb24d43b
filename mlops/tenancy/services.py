"""Writes on customers, members and keys, each with its audit event in the same transaction."""

from datetime import datetime
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import transaction

from mlops.audit.services import record
from mlops.errors import DomainError, InvalidField
from mlops.moments import iso
from mlops.outbound.mailboxes import deliverable
from mlops.storable import flaw_of_name
from mlops.tenancy.accounts import check_account, open_account
from mlops.tenancy.models import ApiKey, Customer, Membership, User
from mlops.tenancy.principals import acting, forget_keys, new_secret
from mlops.tenancy.roles import Principal, Role, system

DEMO_CUSTOMER = UUID("00000000-0000-0000-0000-000000000001")


class LastAdministrator(DomainError):
    """Without this person nobody could manage the customer's members."""

    code = "last_administrator"

    def __init__(self) -> None:
        super().__init__("This is the customer's last administrator; make somebody else one first.")


def create_customer(*, name: str, customer_id: UUID | None = None, at: datetime) -> Customer:
    """Create a tenant, with its scheduled jobs. Raises IntegrityError when the id is taken, InvalidField for a name that will not do."""
    from mlops.jobs.schedules import install_defaults

    _check_name(name, Customer)
    with transaction.atomic():
        customer = Customer(name=name) if customer_id is None else Customer(id=customer_id, name=name)
        customer.save(force_insert=True)
        with acting(system(customer.pk)):
            record(action="customer.created", target=customer, label=name, at=at, after={"name": name})
        install_defaults(customer=customer)
    return customer


def create_member(
    *,
    customer: Customer,
    email: str,
    role: Role,
    password: str | None,
    at: datetime,
    by: Principal | None = None,
    existing: bool = False,
) -> Membership:
    """Make the person a member with this role, creating the account if it is new; an existing account keeps its password, and one of other
    customers is joined by the operator alone, with `existing` (`accounts.check_account`).

    Without `by` the platform itself acts (a command). Raises Forbidden, InvalidField for an address, role or password that will not do,
    and LastAdministrator when the role would be taken from the last one.
    """
    email = email.strip().lower()
    _check_member(email=email, role=role, by=by, customer=customer)
    with transaction.atomic(), acting(by or system(customer.pk)):
        Customer.objects.select_for_update(no_key=True).get(pk=customer.pk)  # whoever changes members queues here
        user, password = check_account(customer=customer, email=email, password=password, by=by, existing=existing)
        if user is None:
            user = open_account(email, password)
        elif password is not None:
            user.set_password(password)
            user.save(update_fields=["password"])
        before = Membership.objects.filter(customer=customer, user=user).first()
        if before is not None and role is not Role.ADMIN:
            _keep_an_administrator(before)
        new = {"role": role, "created_by": by.name if by else ""}
        membership, _ = Membership.objects.update_or_create(customer=customer, user=user, defaults={"role": role}, create_defaults=new)
        former = {"role": before.role} if before else {}
        record(action="member.set", target=membership, label=email, at=at, before=former, after={"role": role.value})
    return membership


def remove_member(*, membership: Membership, at: datetime, by: Principal) -> None:
    """End the membership and revoke the person's keys of this customer, for good; their sessions here end with it.

    Raises Forbidden or LastAdministrator.
    """
    by.authorize("member.manage")
    with transaction.atomic(), acting(by):
        Customer.objects.select_for_update(no_key=True).get(pk=by.customer_id)
        current = Membership.objects.select_related("user").get(pk=membership.pk, customer_id=by.customer_id)
        _keep_an_administrator(current)
        record(action="member.removed", target=current, label=current.user.email, at=at, before={"role": current.role})
        for key in ApiKey.objects.filter(customer_id=by.customer_id, user=current.user, revoked_at=None).order_by("pk"):
            _revoke(key, at=at, by=by)  # without a membership they open nothing, but they would again if the person came back
        current.delete()


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
    """A new key and, once, its secret. Raises Forbidden, or InvalidField when the person is no member of the customer, or the name or the
    expiry will not do."""
    if by is not None:
        by.authorize("key.manage")
        _same_customer(by, customer)
    _check_name(name, ApiKey)
    if expires_at is not None and expires_at <= at:
        raise InvalidField("expires_at", "A key cannot expire before it is made.")
    secret, prefix, digest = new_secret()
    with transaction.atomic(), acting(by or system(customer.pk)):
        if user is not None:
            Customer.objects.select_for_update(no_key=True).get(pk=customer.pk)  # a member who is being removed gets no key
            if not Membership.objects.filter(customer=customer, user=user).exists():
                raise InvalidField("user", f"{user.email} is no member of this customer.")
        key = ApiKey.objects.create(
            customer=customer,
            user=user,
            name=name,
            role=role,
            prefix=prefix,
            digest=digest,
            expires_at=expires_at,
            created_by=by.name if by else "",
        )
        record(action="key.created", target=key, label=str(key), at=at, after={"role": role.value, "name": name})
    return key, secret


def revoke_api_key(*, key: ApiKey, at: datetime, by: Principal) -> bool:
    """End a key at once. False if it was revoked before, or is another customer's."""
    by.authorize("key.manage")
    with transaction.atomic(), acting(by):
        return _revoke(key, at=at, by=by)


def _revoke(key: ApiKey, *, at: datetime, by: Principal) -> bool:
    revoked = ApiKey.objects.filter(pk=key.pk, customer_id=by.customer_id, revoked_at=None).update(revoked_at=at)
    if revoked:
        forget_keys()
        record(action="key.revoked", target=key, label=str(key), at=at, after={"revoked_at": iso(at)}, actor=by)
    return bool(revoked)


def _check_member(*, email: str, role: Role, by: Principal | None, customer: Customer) -> None:
    if by is not None:
        by.authorize("member.manage")
        _same_customer(by, customer)
    if role is Role.SERVICE:
        raise InvalidField("role", "A person cannot have the role service; it is for keys.")
    check_address(email)


def check_address(email: str) -> None:
    """Raises InvalidField for what can be nobody's login."""
    longest = User._meta.get_field("email").max_length or 0
    if len(email) > longest:
        raise InvalidField("email", f"An address has at most {longest} characters.")
    try:
        deliverable(email)
    except ValidationError as invalid:
        raise InvalidField("email", " ".join(invalid.messages)) from None


def _check_name(name: str, of: type[Customer] | type[ApiKey]) -> None:
    longest = of._meta.get_field("name").max_length or 0
    if not 1 <= len(name) <= longest:
        raise InvalidField("name", f"A name has 1 to {longest} characters.")
    if flaw := flaw_of_name(name):
        raise InvalidField("name", f"Not a name: {flaw}.")


def _same_customer(by: Principal, customer: Customer) -> None:
    if by.customer_id != customer.pk:
        raise InvalidField("customer", "You act for another customer.")


def _keep_an_administrator(membership: Membership) -> None:
    others = Membership.objects.filter(customer_id=membership.customer_id, role=Role.ADMIN).exclude(pk=membership.pk)
    if membership.role == Role.ADMIN and not others.exists():
        raise LastAdministrator
