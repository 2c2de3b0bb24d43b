"""Paths of the platform itself, below /api/v1/."""

from django.urls import re_path

from mlops.api import platform

urlpatterns = [
    re_path(r"^me/?$", platform.Me.as_view(), name="me"),
    re_path(r"^jobs/?$", platform.Jobs.as_view(), name="jobs"),
    re_path(r"^jobs/(?P<job_id>[0-9a-f-]{36})/?$", platform.JobDetail.as_view(), name="job"),
    re_path(r"^jobs/(?P<job_id>[0-9a-f-]{36})/cancel/?$", platform.JobCancel.as_view(), name="job-cancel"),
    re_path(r"^audit/?$", platform.Audit.as_view(), name="audit"),
    re_path(r"^audit/verify/?$", platform.AuditVerify.as_view(), name="audit-verify"),
]
