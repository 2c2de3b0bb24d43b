"""The base of every API view: authorize, refuse what is not declared, answer once."""

from collections.abc import Sequence
from typing import Any, ClassVar

from django.db import transaction
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponseBase
from django_filters import FilterSet
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from mlops.api import bodies, idempotency
from mlops.api.idempotency import Claim, ClaimLost
from mlops.api.pagination import PageNumberPagination
from mlops.api.parameters import invalid, refuse_unknown
from mlops.api.problems import Problem
from mlops.storable import LONGEST_SEARCH
from mlops.tenancy.roles import Principal


class ApiView(APIView):
    """A view that says which action each unsafe method is, and which query parameters it knows. Everything else is refused."""

    actions_by_method: ClassVar[dict[str, str]] = {}
    query_parameters: ClassVar[Sequence[str]] = ()
    takes_idempotency_key: ClassVar[bool] = True
    """Whether a POST changes something, so that performing it once matters, and its answer may be kept, because it holds no secret."""
    takes_precondition: ClassVar[bool] = False
    """Whether the unsafe methods take an `If-Match`, which their service checks under the lock."""
    file_limit: ClassVar[str] = ""
    """The setting that bounds the file which the view takes as multipart; a view with `MultiPartParser` names one."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Authenticate, authorize and throttle, then check the query string."""
        super().initial(request, *args, **kwargs)
        refuse_unknown(request, self.known_parameters(request))

    def known_parameters(self, request: Request) -> Sequence[str]:
        """Names of the query parameters this request may carry."""
        return self.query_parameters

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Answer the request. A POST with an Idempotency-Key acts in one transaction with its answer, which an error rolls back whole;
        views of files, whose acts are transactions of their own, commit the answer after the act."""
        self._claim: Claim | None = getattr(request, "idempotency_claim", None)
        if self._claim is None:
            return super().dispatch(request, *args, **kwargs)
        match = request.resolver_match
        one_transaction = not (match and getattr(match.func, "_non_atomic_requests", None))
        with idempotency.watched(self._claim, one_transaction=one_transaction):
            response = super().dispatch(request, *args, **kwargs)
            if one_transaction and response.status_code >= 400:
                transaction.set_rollback(True)
        return response

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        """Keep the answer of an idempotent POST that succeeded; one that lost its claim is refused, also where it recorded no event."""
        if self._claim is not None and isinstance(response, Response) and response.status_code < 400:
            try:
                self._claim.answer(response)
            except ClaimLost as lost:
                response = self.handle_exception(lost)
        return super().finalize_response(request, response, *args, **kwargs)

    def principal(self, request: Request) -> Principal:
        """Who acts; permission was checked before."""
        who = request.user
        if not isinstance(who, Principal):
            raise Problem(401, "not_authenticated", "Send `Authorization: Bearer <key>`, or log in.")
        return who

    def body(self, serializer: type[serializers.Serializer[Any]], request: Request) -> dict[str, Any]:
        """The validated body. Raises a 400 naming each field that is unknown, of another JSON type than it should be, or wrong."""
        return bodies.checked(serializer, request.data, request=request)


class ListView(ApiView):
    """A list: declared filters, declared orderings, declared search, pages."""

    filterset_class: ClassVar[type[FilterSet] | None] = None
    ordering_fields: ClassVar[Sequence[str]] = ()
    search_fields: ClassVar[Sequence[str]] = ()
    row_serializer: ClassVar[type[serializers.Serializer[Any]]]
    pagination_class = PageNumberPagination

    def known_parameters(self, request: Request) -> Sequence[str]:
        """Filters, ordering, search and paging, for reads; writes take none."""
        if request.method not in ("GET", "HEAD"):
            return ()
        filters = list(self.filterset_class.base_filters) if self.filterset_class else []
        names = [*self.query_parameters, *filters, "page", "page_size"]
        return names + ["ordering"] * bool(self.ordering_fields) + ["search"] * bool(self.search_fields)

    def page(self, request: Request, queryset: QuerySet[Any], **context: Any) -> Response:
        """One page of the queryset after filter, search and ordering."""
        paginator = self.pagination_class()
        rows = paginator.paginate_queryset(self._order(request, self._search(request, self._filter(request, queryset))), request, self)
        return paginator.get_paginated_response(self.row_serializer(rows, many=True, context={"request": request, **context}).data)

    def _filter(self, request: Request, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.filterset_class is None:
            return queryset
        filters = self.filterset_class(request.query_params, queryset=queryset, request=request)
        if not filters.is_valid():
            name, messages = next(iter(filters.errors.items()))
            raise invalid(name, " ".join(str(message) for message in messages))
        found: QuerySet[Any] = filters.qs
        return found

    def _search(self, request: Request, queryset: QuerySet[Any]) -> QuerySet[Any]:
        words = request.query_params.get("search", "")
        if not (self.search_fields and words):
            return queryset
        if len(words) > LONGEST_SEARCH:
            raise invalid("search", f"Must have at most {LONGEST_SEARCH} characters; it has {len(words):,}.")
        condition = Q()
        for field in self.search_fields:
            condition |= Q(**{f"{field}__icontains": words})
        return queryset.filter(condition)

    def _order(self, request: Request, queryset: QuerySet[Any]) -> QuerySet[Any]:
        wanted = request.query_params.get("ordering")
        if not wanted or not self.ordering_fields:
            return queryset
        if wanted.removeprefix("-") not in self.ordering_fields:
            raise invalid("ordering", f"Must be one of: {', '.join(self.ordering_fields)}; a leading - reverses.")
        return queryset.order_by(wanted, "pk")
