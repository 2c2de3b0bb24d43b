"""Members, keys and the customers one belongs to."""

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth import admin as stock_admin  # imported first, so that its own registration comes before the removal below
from django.contrib.auth.models import Group
from django.db.models import Case, Count, Exists, F, OuterRef, Q, QuerySet, Value, When
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from unfold.decorators import display
from unfold.widgets import UnfoldAdminEmailInputWidget, UnfoldAdminPasswordWidget, UnfoldAdminSelectWidget

from mlops.admin_lists import Opening, PlatformAdmin, ReadOnlyPlatformAdmin, moment
from mlops.admin_site import show
from mlops.errors import InvalidField
from mlops.moments import when
from mlops.sentences import counted, listed, some
from mlops.tenancy import screens, services
from mlops.tenancy.accounts import check_account
from mlops.tenancy.context import required
from mlops.tenancy.models import ApiKey, Customer, Membership, User
from mlops.tenancy.principals import ambient_principal
from mlops.tenancy.roles import Role

__all__ = ["screens", "stock_admin"]

SOON = timedelta(days=30)
ADDED, MADE = moment("created_at", "Added"), moment("created_at", "Made")

admin.site.unregister(Group)  # rights follow from the role in a customer, never from groups


class MembershipForm(forms.ModelForm):  # type: ignore[type-arg]  # Django's class takes none at run time
    """A new member: the address, the role, and a password where the account is new."""

    email = forms.EmailField(widget=UnfoldAdminEmailInputWidget)
    password = forms.CharField(
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"}),
        required=False,
        strip=False,
        help_text="For a new account, 12 characters or more. Whoever was a member here before keeps the password: leave it empty.",
    )

    class Meta:
        model = Membership
        fields = ("email", "role", "password")

    def clean(self) -> dict[str, Any]:
        """Say beside its field what the service would refuse."""
        values = super().clean() or self.cleaned_data
        if email := values.get("email"):
            customer, password = Customer.objects.get(pk=required()), values.get("password") or None
            try:
                check_account(customer=customer, email=email.lower(), password=password, by=ambient_principal())
            except InvalidField as refusal:
                self.add_error(refusal.field, str(refusal))
        return values


@admin.register(Membership)
class MembershipAdmin(PlatformAdmin):
    """Who may do what here. What an account does elsewhere is nobody's business: name and last login of one that is a member elsewhere too
    are not shown, searched or sorted by."""

    kept_for = Role.ADMIN
    list_display = ("shown_person", "role", "last_login", "created_by", ADDED)
    list_filter = ("role",)
    search_fields = ("user__email", "own_name")
    list_select_related = ("user",)
    fields = ("user", "role", "created_by", ADDED)
    readonly_fields = ("user", "created_by", ADDED)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Membership]:
        """The customer's members: memberships are a platform table, so the list names the customer itself."""
        rows: QuerySet[Membership] = super().get_queryset(request).filter(customer_id=required())
        elsewhere = Exists(Membership.objects.filter(user=OuterRef("user")).exclude(customer_id=required()))
        return rows.annotate(
            own_name=Case(When(elsewhere, then=Value("")), default=F("user__name")),
            own_login=Case(When(elsewhere, then=None), default=F("user__last_login")),
        )

    def opening(self, request: HttpRequest) -> Opening:
        """How many there are of each role."""
        found = Membership.objects.filter(customer_id=required()).order_by().values_list("role").annotate(Count("pk"))
        by_role = dict(found)
        shares = [f"{by_role[role]:,} {_plural(role.label, by_role[role])}" for role in reversed(Role) if role in by_role]
        return Opening(f"{counted(sum(by_role.values()), 'member')}: {listed(shares)}.", "group")

    def get_form(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> Any:
        """A form of its own for a new member."""
        return super().get_form(request, obj, **(kwargs if obj else {**kwargs, "form": MembershipForm}))

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Person and role; a new member's address and password instead."""
        return self.fields if obj else ("email", "role", "password")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Nothing but the role changes later."""
        return self.readonly_fields if obj else ()

    def save_model(self, request: HttpRequest, obj: Membership, form: Any, change: bool) -> None:
        """By the service, so that it is checked and recorded."""
        email = obj.user.email if change else form.cleaned_data["email"]
        password = None if change else form.cleaned_data["password"] or None
        by, customer = self.principal(request), Customer.objects.get(pk=required())
        saved = services.create_member(
            customer=customer, email=email, role=Role(form.cleaned_data["role"]), password=password, at=timezone.now(), by=by
        )
        obj.pk, obj.user, obj.customer = saved.pk, saved.user, customer

    def delete_model(self, request: HttpRequest, obj: Membership) -> None:
        """By the service."""
        services.remove_member(membership=obj, at=timezone.now(), by=self.principal(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Membership]) -> None:
        """One by one, by the service."""
        for membership in queryset:
            self.delete_model(request, membership)

    @display(description="Person", ordering="user__email", header=True)
    def shown_person(self, row: Membership) -> list[str]:
        """Name and address."""
        name = row.own_name  # type: ignore[attr-defined]  # from `get_queryset`
        return [name or row.user.email, row.user.email if name else ""]

    @display(description="Last login", ordering="own_login")
    def last_login(self, row: Membership) -> SafeString:
        """When the person logged in last."""
        return when(row.own_login, "full")  # type: ignore[attr-defined]  # as above


@admin.register(ApiKey)
class ApiKeyAdmin(PlatformAdmin):
    """Programs' ways in. A key is shown once, when it is made."""

    kept_for = Role.ADMIN
    list_display = ("name", "prefix", "role", "user", "state", "last_used_at", "expires_at", "created_by", MADE)
    list_filter = ("role",)
    search_fields = ("name", "prefix", "user__email")
    list_select_related = ("user",)
    actions = ("revoke",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApiKey]:
        """The customer's keys: a platform table, so the list names the customer itself."""
        rows: QuerySet[ApiKey] = super().get_queryset(request).filter(customer_id=required())
        return rows

    def opening(self, request: HttpRequest) -> Opening:
        """How many open something, and for how long."""
        now = timezone.now()
        valid = Q(revoked_at=None) & (Q(expires_at=None) | Q(expires_at__gt=now))
        keys = ApiKey.objects.filter(customer_id=required()).aggregate(
            all=Count("pk"), valid=Count("pk", filter=valid), ending=Count("pk", filter=valid & Q(expires_at__lte=now + SOON))
        )
        if not keys["all"]:
            return Opening("No key was made yet: no program can come in.", "key_off", "open")
        past = keys["all"] - keys["valid"]
        told = f"{counted(keys['valid'], 'API key')} {'is' if keys['valid'] < 2 else 'are'} valid"
        ends = f"{some(keys['ending'], 'expires', 'expire')} within 30 days"
        gone = f"{some(past, 'was revoked or has', 'were revoked or have')} expired"
        parts = [capfirst(told), ends if keys["valid"] else "", gone if past else ""]
        return Opening("; ".join(part for part in parts if part) + ".", "key", "open" if keys["ending"] else "")

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """What is chosen at the beginning; later, everything but the digest."""
        chosen = ("name", "role", "user", "expires_at")
        if obj is None:
            return chosen
        moments = (moment("last_used_at", "Last used"), moment("expires_at", "Expires"), moment("revoked_at", "Revoked"))
        return ("name", "role", "user", "prefix", "created_by", MADE, *moments)

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Only the customer's members own keys."""
        if db_field.name == "user":
            kwargs["queryset"] = User.objects.filter(memberships__customer_id=required())
            kwargs["widget"] = UnfoldAdminSelectWidget
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:
        """By the service; the secret stays with the request until it is shown."""
        values, by = form.cleaned_data, self.principal(request)
        customer = Customer.objects.get(pk=required())
        key, secret = services.create_api_key(
            customer=customer,
            role=Role(values["role"]),
            name=values["name"],
            user=values["user"],
            expires_at=values["expires_at"],
            at=timezone.now(),
            by=by,
        )
        obj.pk, obj.prefix, obj.digest, obj.customer = key.pk, key.prefix, key.digest, customer
        request.new_secret = secret  # type: ignore[attr-defined]  # from here to `response_add`, and nowhere else

    def response_add(self, request: HttpRequest, obj: ApiKey, post_url_continue: str | None = None) -> HttpResponse:
        """The one page that shows the secret; the admin never lets a browser keep its pages."""
        secret = request.new_secret  # type: ignore[attr-defined]  # set by `save_model`
        return show(request, "tenancy/key_created.html", title="API key created", key=obj, secret=secret)

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        """For whoever manages keys."""
        return self.principal(request).may("key.manage")

    @admin.action(description="Revoke at once", permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        """End the chosen keys."""
        ended = sum(services.revoke_api_key(key=key, at=timezone.now(), by=self.principal(request)) for key in queryset)
        self.message_user(request, f"{ended} of {len(queryset)} keys revoked; the others were before.", messages.SUCCESS)

    @display(description="State", label={"valid": "success", "revoked": "danger", "expired": "warning"})
    def state(self, row: ApiKey) -> str:
        """Whether it still opens anything."""
        if row.revoked_at:
            return "revoked"
        return "expired" if row.expires_at and row.expires_at <= timezone.now() else "valid"


@admin.register(Customer)
class CustomerAdmin(ReadOnlyPlatformAdmin):
    """The customers one is a member of, and the choice between them."""

    kept_for = Role.ADMIN
    list_display = ("name", "id", "created_at")
    list_before_template = "tenancy/choose_customer.html"
    search_fields = ("name",)
    actions = None

    def get_queryset(self, request: HttpRequest) -> QuerySet[Customer]:
        """Those with a membership of the viewer, no others."""
        rows: QuerySet[Customer] = super().get_queryset(request).filter(memberships__user_id=self.principal(request).user_id)
        return rows

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """With a button for each."""
        mine = [(one.customer, one.get_role_display(), one.customer_id == required()) for one in screens.memberships_of(request)]
        return super().changelist_view(request, {**(extra_context or {}), "choices": mine})


def _plural(role: str, number: int) -> str:
    name = role if role.startswith("ML ") else role.lower()
    return name if number == 1 else f"{name}s"
