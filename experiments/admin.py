"""The list of experiments; what changes, changes on the pages of `experiments.screens`, by services."""

from django.contrib import admin
from unfold.decorators import display

from experiments.models import Experiment
from experiments.screens import board as board
from experiments.screens import experiment_page as experiment_page
from experiments.screens import explaining as explaining
from experiments.screens import retraining as retraining
from experiments.screens import splits as splits
from experiments.screens import studies as studies
from experiments.screens import trial_registration as trial_registration
from experiments.screens import waiting as waiting
from mlops.admin_lists import moment
from registry.admin import PagedAdmin


@admin.register(Experiment)
class ExperimentAdmin(PagedAdmin):
    """Every experiment."""

    page_name = "admin:experiments_page"
    list_display = (
        "experiment_name",
        "shown_status",
        "experiment_type",
        "shown_model",
        "proposed_by",
        "decision",
        moment("created_at", "Proposed"),
    )
    list_filter = ("status", "experiment_type", "decision")
    search_fields = ("experiment_name", "hypothesis", "proposed_by")
    list_select_related = ("model",)

    @display(description="Model", ordering="model__name")
    def shown_model(self, row: Experiment) -> str:
        """Its name, or a dash."""
        return row.model.name if row.model else "–"
