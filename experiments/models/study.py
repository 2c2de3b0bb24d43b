"""A study: a search over the hyper-parameters of one algorithm, and its trials, one row each as they happen."""

from typing import ClassVar
from uuid import UUID

from django.db import models
from django.db.models import Q

from experiments.models.experiment import Experiment
from experiments.models.split import Split
from experiments.states import OPEN_STUDIES, StudyStatus, TrialState
from mlops.tenancy.models import TenantModel
from registry.models import Dataset, ModelVersion, RegisteredModel


class Study(TenantModel):
    """Table `studies`: what is searched, how, and how far it is. Its row is the lock under which trials are numbered and the search ends.

    `system_attrs` and `user_attrs` belong to Optuna's samplers and pruners.
    """

    class Algorithm(models.TextChoices):
        """Whose hyper-parameters are searched."""

        CATBOOST = "catboost", "CatBoost"
        XGBOOST = "xgboost", "XGBoost"
        LIGHTGBM = "lightgbm", "LightGBM"
        SKLEARN = "sklearn", "scikit-learn"

    class Direction(models.TextChoices):
        """Which end of the metric is good."""

        MINIMIZE = "minimize", "Minimize"
        MAXIMIZE = "maximize", "Maximize"

    undeletable: ClassVar[bool] = True
    frozen_fields: ClassVar[tuple[str, ...]] = (
        "split",
        "dataset",
        "algorithm",
        "task",
        "metric",
        "direction",
        "search_space",
        "seed",
        "preprocessing",
        "postprocessing",
    )

    name = models.CharField(max_length=200)
    description = models.TextField(blank=True)
    status = models.CharField(max_length=10, choices=StudyStatus.choices, default=StudyStatus.PENDING)
    split = models.ForeignKey(Split, null=True, blank=True, on_delete=models.PROTECT, related_name="studies")
    dataset = models.ForeignKey(
        Dataset, null=True, blank=True, on_delete=models.PROTECT, related_name="+", help_text="Of a forecast study."
    )
    model = models.ForeignKey(RegisteredModel, on_delete=models.PROTECT, related_name="studies")
    proposal = models.ForeignKey(Experiment, null=True, blank=True, on_delete=models.PROTECT, related_name="studies")
    warm_start = models.ForeignKey("self", null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    algorithm = models.CharField(max_length=16, choices=Algorithm.choices, default=Algorithm.CATBOOST)
    task = models.CharField(max_length=16, choices=Split.Task.choices)
    metric = models.CharField(max_length=40)
    direction = models.CharField(max_length=8, choices=Direction.choices)
    n_trials = models.PositiveIntegerField()
    timeout_s = models.PositiveIntegerField(null=True, blank=True)
    sampler = models.CharField(max_length=16, default="tpe")
    pruner = models.CharField(max_length=16, default="median")
    seed = models.PositiveBigIntegerField(default=0)
    workers = models.PositiveSmallIntegerField(default=1, help_text="How many jobs share the search.")
    search_space = models.JSONField(default=dict, help_text="Per parameter: type, bounds or choices, or a fixed value.")
    preprocessing = models.JSONField(default=dict, blank=True, help_text="Options of what is learnt about columns; empty: the defaults.")
    postprocessing = models.JSONField(default=dict, blank=True, help_text="Options of how answers are made; empty: the defaults.")
    last_trial_number = models.PositiveIntegerField(default=0, editable=False, help_text="Trials given out so far; numbers start at 0.")
    finished_trials = models.PositiveIntegerField(default=0, editable=False)
    best_value = models.FloatField(null=True, blank=True)
    best_number = models.PositiveIntegerField(null=True, blank=True)
    version = models.ForeignKey(ModelVersion, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    system_attrs = models.JSONField(default=dict, editable=False)
    user_attrs = models.JSONField(default=dict, editable=False)
    error = models.TextField(blank=True)
    job_id = models.UUIDField(null=True, blank=True, help_text="The first of its jobs.")
    created_by = models.CharField(max_length=254)
    created_by_id = models.UUIDField(null=True, blank=True)
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    cancel_requested_at = models.DateTimeField(null=True, blank=True)
    deleted_at = models.DateTimeField(null=True, blank=True)
    revision = models.PositiveIntegerField(default=1, editable=False, help_text="Counts every change people make; the ETag.")

    class Meta(TenantModel.Meta):
        db_table = "studies"
        ordering = ("-created_at", "id")
        constraints = [
            models.CheckConstraint(condition=Q(status__in=StudyStatus.values), name="study_status_is_known"),
            models.CheckConstraint(
                condition=Q(algorithm__in=["catboost", "xgboost", "lightgbm", "sklearn"]), name="study_algorithm_is_known"
            ),
            models.CheckConstraint(condition=Q(direction__in=["minimize", "maximize"]), name="study_direction_is_known"),
            models.CheckConstraint(condition=Q(split__isnull=False) | Q(task="forecast"), name="a_study_has_its_data"),
        ]
        indexes = [
            models.Index(fields=["customer", "deleted_at", "-created_at"], name="studies_newest_first"),
            models.Index(fields=["customer", "status", "-created_at"], name="studies_by_status"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def stream_id(self) -> UUID:
        """A study moves alone."""
        return self.pk

    @property
    def is_open(self) -> bool:
        """Whether it waits for a worker or has one."""
        return self.status in OPEN_STUDIES


class Trial(TenantModel):
    """Table `study_trials`: one set of hyper-parameters, tried, written by the worker that runs it in few statements."""

    study = models.ForeignKey(Study, on_delete=models.CASCADE, related_name="trials")
    number = models.PositiveIntegerField(help_text="From 0, in the order of their start, without gaps.")
    state = models.CharField(max_length=10, choices=TrialState.choices, default=TrialState.RUNNING)
    value = models.FloatField(null=True, blank=True, help_text="The study's metric on the validation part.")
    params = models.JSONField(default=dict)
    distributions = models.JSONField(default=dict, editable=False)
    intermediate_values = models.JSONField(default=dict, help_text="The metric after so many iterations.")
    metrics = models.JSONField(default=dict, help_text="Every metric of the task on the validation part.")
    user_attrs = models.JSONField(default=dict, editable=False)
    system_attrs = models.JSONField(default=dict, editable=False)
    error = models.TextField(blank=True)
    job_id = models.UUIDField(null=True, blank=True, help_text="The job whose attempt runs it.")
    attempt = models.PositiveSmallIntegerField(null=True, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    duration_s = models.FloatField(null=True, blank=True)
    version = models.ForeignKey(
        ModelVersion,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
        help_text="What somebody had made of it; the version of a study's conclusion stands with the study.",
    )

    class Meta(TenantModel.Meta):
        db_table = "study_trials"
        ordering = ("study_id", "number", "id")
        constraints = [
            models.UniqueConstraint(fields=["study", "number"], name="trial_number_is_unique"),
            models.CheckConstraint(condition=Q(state__in=TrialState.values), name="trial_state_is_known"),
        ]

    def __str__(self) -> str:
        return f"{self.study} #{self.number}"

    @property
    def registered(self) -> ModelVersion | None:
        """The version that was made of it and not deleted since, by the study's conclusion or because somebody asked."""
        concluded = self.study.version
        made = [self.version, concluded if concluded and concluded.lineage.get("trial") == self.number else None]
        return next((version for version in made if version is not None and version.deleted_at is None), None)
