"""The OpenAPI document and the pages that show it: local files only, and no script inside a page, as the content security policy wants."""

from drf_spectacular.views import SpectacularJSONAPIView, SpectacularRedocView, SpectacularSwaggerSplitView


class SchemaView(SpectacularJSONAPIView):
    """The document, as JSON."""


class SwaggerView(SpectacularSwaggerSplitView):
    """Swagger UI; the split view serves its set-up script as a file of its own."""


class RedocView(SpectacularRedocView):
    """ReDoc, by a template of ours: the stock one fetches fonts from elsewhere."""

    template_name = "tiltyard/redoc.html"
