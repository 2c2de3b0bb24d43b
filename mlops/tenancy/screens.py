"""Choosing which customer to work for."""

from uuid import UUID

from django.contrib import messages
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.views.decorators.http import require_POST

from mlops.admin_site import page, principal_of
from mlops.tenancy.middleware import CHOSEN_CUSTOMER
from mlops.tenancy.models import Membership


def memberships_of(request: HttpRequest) -> QuerySet[Membership]:
    """The viewer's memberships in all customers, by customer."""
    mine = Membership.objects.filter(user_id__in=[principal_of(request).user_id])
    return mine.select_related("customer").order_by("customer__name", "id")


@page("customers/choose/<uuid:customer_id>/", name="choose_customer")
@require_POST
def choose(request: HttpRequest, customer_id: UUID) -> HttpResponse:
    """Work for this customer from now on, in this session. 404 unless the viewer is a member of it."""
    membership = memberships_of(request).filter(customer_id=customer_id).first()
    if membership is None:
        raise Http404("You are no member of such a customer.")
    request.session[CHOSEN_CUSTOMER] = str(customer_id)
    messages.success(request, f"You now work for {membership.customer}, as {membership.get_role_display()}.")
    return HttpResponseRedirect(reverse("admin:index"))
