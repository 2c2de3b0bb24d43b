"""Settings of the test run: the real ones, with a known secret and fast password hashing."""

import os

os.environ.setdefault("SECRET_KEY", "only-for-tests-0123456789abcdefghijklmnopqrstuvwxyz")
os.environ.setdefault("LOG_FORMAT", "console")

from mlops.settings import *  # noqa: F403 - the environment has to be ready first; a settings module is its names

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
ALLOWED_HOSTS = ["testserver", "localhost", "127.0.0.1"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = True
THROTTLE_PER_MINUTE = 1_000_000
METRICS_TOKEN = "test-metrics-token"  # noqa: S105 - a token of the test run
