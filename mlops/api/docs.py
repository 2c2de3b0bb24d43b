"""Swagger UI from local files, without a script inside the page."""

from drf_spectacular.views import SpectacularSwaggerSplitView


class SwaggerView(SpectacularSwaggerSplitView):
    """The split view serves its set-up script as a file of its own, which the content security policy wants."""
