"""Paths of the platform itself, below /api/v1/."""

from django.urls import re_path

from mlops.api import platform

urlpatterns = [
    re_path(r"^me/?\Z", platform.Me.as_view(), name="me"),
    re_path(r"^jobs/?\Z", platform.Jobs.as_view(), name="jobs"),
    re_path(r"^jobs/(?P<job_id>[0-9a-f-]{36})/?\Z", platform.JobDetail.as_view(), name="job"),
    re_path(r"^jobs/(?P<job_id>[0-9a-f-]{36})/cancel/?\Z", platform.JobCancel.as_view(), name="job-cancel"),
    re_path(r"^audit/?\Z", platform.Audit.as_view(), name="audit"),
    re_path(r"^audit/verify/?\Z", platform.AuditVerify.as_view(), name="audit-verify"),
]
