"""The one navigation of the site."""

from typing import Any

from django.urls import reverse_lazy


def _entry(title: str, icon: str, url_name: str, *args: Any) -> dict[str, Any]:
    return {"title": title, "icon": icon, "link": reverse_lazy(url_name, args=args)}


SIDEBAR: dict[str, Any] = {
    "show_search": False,
    "show_all_applications": False,
    "navigation": [
        {
            "title": "Decide",
            "items": [
                _entry("Overview", "dashboard", "admin:index"),
                _entry("Approvals", "how_to_vote", "admin:registry_promotionrequest_changelist"),
                _entry("Models", "swords", "admin:registry_registeredmodel_changelist"),
            ],
        },
        {
            "title": "Evidence",
            "items": [
                _entry("Versions", "layers", "admin:registry_modelversion_changelist"),
                _entry("Datasets", "database", "admin:registry_dataset_changelist"),
                _entry("Retraining", "model_training", "admin:registry_retrainingrun_changelist"),
                _entry("Jobs", "progress_activity", "admin:jobs_job_changelist"),
                _entry("Audit", "history_edu", "admin:audit_auditevent_changelist"),
            ],
        },
        {
            "title": "Settings",
            "items": [
                _entry("Members", "group", "admin:tenancy_membership_changelist"),
                _entry("API keys", "key", "admin:tenancy_apikey_changelist"),
                _entry("Schedules", "schedule", "admin:django_celery_beat_periodictask_changelist"),
                _entry("API reference", "api", "swagger"),
            ],
        },
    ],
}
