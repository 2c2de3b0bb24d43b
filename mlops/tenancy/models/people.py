"""Customers and people. Platform tables: they are read before any customer is known, so they carry no row-level policy."""

import uuid
from typing import Any, ClassVar

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.db import models

from mlops.tenancy.roles import Role


class Customer(models.Model):
    """A tenant. Every domain row belongs to exactly one."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=200)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "customers"
        ordering = ("name", "id")

    def __str__(self) -> str:
        return self.name


class UserManager(BaseUserManager["User"]):
    """Makes people known by their e-mail address."""

    def create_user(self, email: str, password: str | None = None, **extra: Any) -> "User":
        """Create a person; without a password nobody can log in as them."""
        user = self.model(email=self.normalize_email(email).lower(), **extra)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **extra: Any) -> "User":
        """Create a person who may also manage customers; roles still decide within one."""
        return self.create_user(email, password, is_superuser=True, **extra)


class User(AbstractBaseUser):
    """A person. What they may do is decided by their membership of a customer, never by the person alone."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    email = models.EmailField(unique=True)
    name = models.CharField(max_length=200, blank=True)
    is_active = models.BooleanField(default=True)
    is_superuser = models.BooleanField("platform operator", default=False)
    created_at = models.DateTimeField(auto_now_add=True)

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []
    objects = UserManager()
    known_memberships: "list[Membership] | None" = None
    """What the session's look-up has read already; None where nobody has looked."""

    class Meta:
        db_table = "users"
        ordering = ("email",)

    def __str__(self) -> str:
        return self.email

    @property
    def is_staff(self) -> bool:
        """Everybody with an account may open the site; what it shows depends on the membership."""
        return self.is_active

    def has_perm(self, perm: str, obj: object = None) -> bool:
        """Whether the ambient membership's role allows Django's permission `perm`."""
        from mlops.tenancy.backends import RoleBackend

        return RoleBackend().has_perm(self, perm, obj)

    def has_perms(self, perm_list: list[str], obj: object = None) -> bool:
        """Whether all of the permissions are held."""
        return all(self.has_perm(perm, obj) for perm in perm_list)

    def has_module_perms(self, app_label: str) -> bool:
        """Every member may see what exists; the model permissions decide the rest."""
        return self.is_active


class Membership(models.Model):
    """A person's role in one customer."""

    customer = models.ForeignKey(Customer, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=20, choices=Role.human_choices())
    created_by = models.CharField("added by", max_length=254, blank=True, help_text="Empty: the platform's own commands.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "memberships"
        verbose_name = "member"
        ordering = ("user__email", "id")
        constraints = [
            models.UniqueConstraint(fields=["customer", "user"], name="one_membership_per_person_and_customer"),
            models.CheckConstraint(
                condition=models.Q(role__in=[role for role, _ in Role.human_choices()]), name="membership_role_is_known"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user} ({self.get_role_display()})"
