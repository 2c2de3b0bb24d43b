"""Everything the process reads from its environment, in one place. A bad or missing value stops the start with a message."""

import os
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import dj_database_url
import dj_email_url
import structlog
from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured
from environs import Env

from mlops.broker import default_broker_url, transport_options
from mlops.navigation import SIDEBAR


class _Environment(Env):
    """The environment, in which an empty variable is none: compose files and shells pass on what nobody has set."""

    def _get_value(self, env_key: str, default: Any) -> Any:
        found = super()._get_value(env_key, default)
        return default if found == "" else found


env = _Environment()
BASE_DIR = Path(__file__).resolve().parent.parent
VAR_DIR = Path(env.str("VAR_DIR", str(BASE_DIR / "var"))).resolve()
DEBUG = env.bool("DEBUG", False)


def _in_url(path: Path) -> str:
    """A path as part of a URL: a folder may have a `#`, a `?` or a `%` in its name."""
    return quote(os.fsencode(path))


_KEY_FILE = VAR_DIR / "secret_key"  # made by `make run` and `make up`, readable by their user alone
SECRET_KEY = env.str("SECRET_KEY", "") or (_KEY_FILE.read_text().strip() if _KEY_FILE.exists() else "")
_NEEDS_NO_SECRET = {"makemigrations", "collectstatic", "help", "spectacular"}
if not SECRET_KEY:
    if not _NEEDS_NO_SECRET.intersection(sys.argv[1:2]):
        raise ImproperlyConfigured("SECRET_KEY is not set. `make run` and `make up` make one; elsewhere put 50 random characters in it.")
    SECRET_KEY = "only-for-commands-that-sign-nothing"  # noqa: S105 - never used to sign: see the set above

SECRET_KEY_FALLBACKS: list[str] = env.list("SECRET_KEY_FALLBACKS", [])

HOST = env.str("HOST", "127.0.0.1")
PORT = env.int("PORT", 8000)
WEB_THREADS = env.int("WEB_THREADS", 8)
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", ["localhost", "127.0.0.1", "[::1]", HOST])
CSRF_TRUSTED_ORIGINS: list[str] = env.list("CSRF_TRUSTED_ORIGINS", [])
FORCE_SCRIPT_NAME = env.str("PATH_PREFIX", "") or None
_ADDRESS_FILE = VAR_DIR / "address"  # kept by `make run` and `make up`, for commands in a shell that knows no PORT
_ELSEWHERE = not (env.str("HOST", "") or env.str("PORT", "")) and _ADDRESS_FILE.exists()
PUBLIC_URL = env.str("PUBLIC_URL", _ADDRESS_FILE.read_text().strip() if _ELSEWHERE else f"http://{HOST}:{PORT}").rstrip("/")
TLS = env.bool("TLS", PUBLIC_URL.startswith("https://"))

# --- applications -----------------------------------------------------------------------------------------------------------------------
INSTALLED_APPS = [
    "unfold.apps.BasicAppConfig",  # the plain one would put its own site in the place of ours
    "unfold.contrib.filters",
    "mlops.database",  # before django.core's: it replaces `migrate` and `flush`
    "mlops.tenancy",
    "mlops.audit",
    "mlops.lifecycle",
    "mlops.outbox",
    "mlops.jobs",
    "mlops.artifacts",
    "mlops.api",
    "mlops.telemetry",
    "registry",
    "experiments",
    "alerts",
    "mlops.admin_site.TiltyardAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "django_celery_beat",
    "django_filters",
    "django_structlog",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "csp",
]
MIDDLEWARE = [
    "mlops.api.quick.QuickMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "mlops.api.middleware.RequestIdMiddleware",
    "mlops.telemetry.middleware.RequestLogMiddleware",
    "mlops.api.middleware.OutageMiddleware",
    "mlops.api.middleware.IntakeMiddleware",
    "mlops.api.content_policy.ContentPolicyMiddleware",
    "mlops.api.middleware.AdminThemeMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "mlops.tenancy.middleware.PrincipalMiddleware",
    "mlops.api.middleware.IdempotencyMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "mlops.urls"
WSGI_APPLICATION = "mlops.wsgi.application"
APPEND_SLASH = False
AUTH_USER_MODEL = "tenancy.User"
AUTHENTICATION_BACKENDS = ["mlops.tenancy.backends.RoleBackend"]
CSRF_FAILURE_VIEW = "mlops.api.errors.csrf_failure"
LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "admin:index"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "mlops" / "templates"],  # before the theme's own
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "csp.context_processors.nonce",
            ]
        },
    }
]

# --- database ---------------------------------------------------------------------------------------------------------------------------
_DATABASE_URL = env.str("DATABASE_URL", f"sqlite:///{_in_url(VAR_DIR / 'tiltyard.sqlite3')}")
_OWNER_URL = env.str("DATABASE_OWNER_URL", "")


def database(url: str, variable: str = "DATABASE_URL") -> dict[str, Any]:
    """Django's settings for a database URL. Raises ImproperlyConfigured for anything but PostgreSQL and SQLite."""
    try:
        config: dict[str, Any] = dict(dj_database_url.parse(url))
    except ValueError:  # without the URL, which may hold a password
        raise ImproperlyConfigured(f"{variable} is no URL that starts with postgresql:// or sqlite://.") from None
    engine = config["ENGINE"].rsplit(".", 1)[-1]
    if engine in {"postgresql", "postgresql_psycopg2"}:
        pool = {"min_size": 1, "max_size": env.int("DATABASE_POOL_SIZE", 10), "timeout": 5}
        options = {**config.get("OPTIONS", {}), "pool": pool, "connect_timeout": 5}
        return {
            **config,
            "ENGINE": "mlops.database.postgresql",
            "ATOMIC_REQUESTS": True,
            "CONN_MAX_AGE": 0,
            "CONN_HEALTH_CHECKS": True,
            "OPTIONS": options,
        }
    if engine != "sqlite3":
        raise ImproperlyConfigured(f"{variable} names {engine}: Tiltyard runs on postgresql:// and sqlite://.")
    pragmas = (
        "journal_mode=WAL synchronous=NORMAL foreign_keys=ON recursive_triggers=ON"
        " mmap_size=134217728 journal_size_limit=67108864 cache_size=-20000"
    )
    return {
        **config,
        "ATOMIC_REQUESTS": False,  # only writes open a transaction: an IMMEDIATE one would lock out every other writer during a read
        "OPTIONS": {
            "timeout": 20,
            "transaction_mode": "IMMEDIATE",
            "init_command": "".join(f"PRAGMA {pragma};" for pragma in pragmas.split()),
        },
        "TEST": {"NAME": str(VAR_DIR / "test.sqlite3")},
    }


DATABASES = {"default": database(_DATABASE_URL)}
if _OWNER_URL:
    DATABASES["default"]["OWNER"] = database(_OWNER_URL, "DATABASE_OWNER_URL")
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- tasks ------------------------------------------------------------------------------------------------------------------------------
BROKER_URL = env.str("BROKER_URL", "") or default_broker_url(VAR_DIR)
CELERY_BROKER_URL = BROKER_URL
CELERY_BROKER_TRANSPORT_OPTIONS = transport_options(BROKER_URL, VAR_DIR)
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TASK_PUBLISH_RETRY = False
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False  # a job is fenced by its own lease, not by the broker
CELERY_BEAT_SCHEDULER = "mlops.jobs.scheduler:Scheduler"
CELERY_BEAT_MAX_LOOP_INTERVAL = 2
CELERY_TASK_DEFAULT_QUEUE = "events"  # news names its queue itself: "deliveries" where it leads to a receiver outside
CELERY_TASK_ROUTES = {"mlops.jobs.tasks.*": {"queue": "jobs"}}
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_MAX_TASKS_PER_CHILD = 50
CELERY_TIMEZONE = "UTC"
JOB_PROCESSES = max(env.int("JOB_PROCESSES", 2), 1)  # of all workers of the queue "jobs" together
LONG_JOBS = ["study.search"]  # kinds that may take hours: they never have the last of these processes
# What one attempt of a job may take, and one of the kinds above; then it is ended, and its process with it.
JOB_ATTEMPT_SECONDS = env.int("JOB_ATTEMPT_SECONDS", 6 * 3600)
LONG_JOB_ATTEMPT_SECONDS = env.int("LONG_JOB_ATTEMPT_SECONDS", 24 * 3600)
if min(JOB_ATTEMPT_SECONDS, LONG_JOB_ATTEMPT_SECONDS) < 1:
    raise ImproperlyConfigured("JOB_ATTEMPT_SECONDS and LONG_JOB_ATTEMPT_SECONDS are whole seconds, at least 1.")
DJANGO_CELERY_BEAT_TZ_AWARE = True

# --- files ------------------------------------------------------------------------------------------------------------------------------
ARTIFACT_STORAGE_URL = env.str("ARTIFACT_STORAGE_URL", f"file://{_in_url(VAR_DIR / 'artifacts')}")
if not ARTIFACT_STORAGE_URL.startswith(("/", "file:///", "s3://", "gs://", "az://")):
    raise ImproperlyConfigured("ARTIFACT_STORAGE_URL must be a folder (file:///folder), or start with s3://, gs:// or az://.")
DATA_ROOTS = [Path(root).resolve() for root in env.list("DATA_ROOTS", [str(VAR_DIR / "data")])]
DATA_URIS: list[str] = env.list("DATA_URIS", [])
if any(not uri.startswith(("s3://", "gs://", "az://")) or len(uri.rstrip("/")) < 6 for uri in DATA_URIS):
    raise ImproperlyConfigured("DATA_URIS lists prefixes such as s3://bucket/folder/, gs://bucket/ or az://container/, comma-separated.")
MAX_BODY_BYTES = env.int("MAX_BODY_BYTES", 2 * 1024 * 1024)
MAX_ARTIFACT_BYTES = env.int("MAX_ARTIFACT_BYTES", 512 * 1024 * 1024)
MAX_DATASET_BYTES = env.int("MAX_DATASET_BYTES", 2 * 1024**3)
# How slow a sender may be (mlops.rsgi), and how many bodies of more than 64 KB, and forms, one principal may have under way.
UPLOAD_BYTES_PER_SECOND = env.int("UPLOAD_BYTES_PER_SECOND", 16 * 1024)
UPLOAD_GRACE_SECONDS = env.float("UPLOAD_GRACE_SECONDS", 5.0)
UPLOAD_SECONDS = env.int("UPLOAD_SECONDS", 3600)
UPLOADS_AT_ONCE = env.int("UPLOADS_AT_ONCE", 4)
DATA_UPLOAD_MAX_MEMORY_SIZE = MAX_BODY_BYTES
FILE_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024
FILE_UPLOAD_TEMP_DIR = str(VAR_DIR / "tmp")
FILE_UPLOAD_HANDLERS = ["mlops.artifacts.uploads.StreamingUploadHandler"]
# How long upkeep (mlops.upkeep) keeps what is done with.
IDEMPOTENCY_KEPT_DAYS = env.int("IDEMPOTENCY_KEPT_DAYS", 7)
OUTBOX_KEPT_DAYS = env.int("OUTBOX_KEPT_DAYS", 14)
JOBS_KEPT_DAYS = env.int("JOBS_KEPT_DAYS", 90)
TEMPORARY_FILES_KEPT_HOURS = env.int("TEMPORARY_FILES_KEPT_HOURS", 24)
# Memory that a process may fill with models it answers /v1/predict from.
MODEL_CACHE_BYTES = env.int("MODEL_CACHE_BYTES", 256 * 1024 * 1024)
# What a fit of a study may take in a worker, as experiments.services.study_memory counts it.
MACHINE_MEMORY = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
TRAINING_MEMORY_BYTES = env.int("TRAINING_MEMORY_BYTES", MACHINE_MEMORY // 2)
STATIC_URL = "static/"
STATIC_ROOT = VAR_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "mlops" / "static"]
WHITENOISE_USE_FINDERS = DEBUG
for _folder in (VAR_DIR, VAR_DIR / "tmp", VAR_DIR / "data"):
    _folder.mkdir(mode=0o700, parents=True, exist_ok=True)

# --- API --------------------------------------------------------------------------------------------------------------------------------
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["mlops.api.authentication.BearerAuthentication", "mlops.api.authentication.BrowserAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["mlops.api.permissions.ActionPermission"],
    "DEFAULT_RENDERER_CLASSES": ["mlops.api.json.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["mlops.api.json.StrictJSONParser"],
    "DEFAULT_PAGINATION_CLASS": "mlops.api.pagination.PageNumberPagination",
    "DEFAULT_FILTER_BACKENDS": [],
    "DEFAULT_THROTTLE_CLASSES": ["mlops.api.throttling.PrincipalThrottle"],
    "DEFAULT_SCHEMA_CLASS": "mlops.api.schema.Schema",
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "mlops.api.json.JSONOnly",
    "EXCEPTION_HANDLER": "mlops.api.problems.handler",
    "URL_FORMAT_OVERRIDE": None,
    "FORMAT_SUFFIX_KWARG": None,
    "UNAUTHENTICATED_USER": None,
    "COERCE_DECIMAL_TO_STRING": False,
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
THROTTLE_PER_MINUTE = env.int("THROTTLE_PER_MINUTE", 1200)
SPECTACULAR_SETTINGS = {
    "TITLE": "Tiltyard",
    "DESCRIPTION": "An MLOps control plane where challengers earn their place.",
    "VERSION": "0.1.0",
    "OAS_VERSION": "3.1.1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],  # the document tells nothing of anybody's data
    "SERVE_AUTHENTICATION": [],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "SCHEMA_PATH_PREFIX": "(/api)?/v1",
    "ENUM_ADD_EXPLICIT_BLANK_NULL_CHOICE": False,
    "SORT_OPERATION_PARAMETERS": False,
    "POSTPROCESSING_HOOKS": ["drf_spectacular.hooks.postprocess_schema_enums", "mlops.api.schema.without_closing_slashes"],
    "ENUM_NAME_OVERRIDES": {
        "JobStatusEnum": "mlops.jobs.models.JobState",
        "VersionStatusEnum": "registry.states.VersionStatus",
        "DatasetVersionStatusEnum": "registry.states.DatasetVersionStatus",
        "RequestStatusEnum": "registry.states.RequestStatus",
        "RetrainingStatusEnum": "registry.states.RetrainingStatus",
        "SplitStatusEnum": "experiments.states.SplitStatus",
        "StudyStatusEnum": "experiments.states.StudyStatus",
        "StudyDirectionEnum": "experiments.models.study.Study.Direction",
        "StudyAlgorithmEnum": "experiments.models.study.Study.Algorithm",
        "StudyTaskEnum": "experiments.models.split.Split.Task",
        "SplitTaskEnum": [("regression", "Regression"), ("classification", "Classification")],
        "SplitStrategyEnum": "experiments.models.split.Split.Strategy",
        "AlertStatusEnum": "alerts.states.AlertStatus",
        "AlertTypeEnum": "alerts.states.AlertType",
        "AlertDecisionEnum": "alerts.states.Decision",
        "SeverityEnum": "alerts.states.Severity",
        "DeliveryStatusEnum": "alerts.states.DeliveryStatus",
        "DeliveryKindEnum": "alerts.models.notification.Delivery.Kind",
        "ChannelKindEnum": "alerts.models.notification.Channel.Kind",
    },
}
METRICS_TOKEN = env.str("METRICS_TOKEN", "")

# --- notifications ----------------------------------------------------------------------------------------------------------------------
WEBHOOK_ALLOWED_HOSTS: list[str] = env.list("WEBHOOK_ALLOWED_HOSTS", [])
_MAIL = dj_email_url.parse(env.str("EMAIL_URL", "") or (f"file://{_in_url(VAR_DIR / 'mail')}" if DEBUG else "dummy:"))
if "EMAIL_BACKEND" not in _MAIL:
    raise ImproperlyConfigured(
        "EMAIL_URL cannot be read: write submission://user:password@host:587, smtp://host:25, file:///folder or console:."
    )
EMAIL_BACKEND = _MAIL["EMAIL_BACKEND"]
EMAIL_HOST, EMAIL_PORT = _MAIL["EMAIL_HOST"] or "localhost", _MAIL["EMAIL_PORT"] or 25
EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = _MAIL["EMAIL_HOST_USER"] or "", _MAIL["EMAIL_HOST_PASSWORD"] or ""
EMAIL_USE_TLS, EMAIL_USE_SSL = _MAIL["EMAIL_USE_TLS"], _MAIL["EMAIL_USE_SSL"]
EMAIL_FILE_PATH = f"/{unquote(_MAIL['EMAIL_FILE_PATH']).lstrip('/')}" if _MAIL["EMAIL_FILE_PATH"] else None
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", f"Tiltyard <tiltyard@{HOST}>")

# --- browser ----------------------------------------------------------------------------------------------------------------------------
CONTENT_SECURITY_POLICY = {
    # unfold's Alpine evaluates expressions in attributes, hence 'unsafe-eval' on pages of the admin theme alone (mlops.api.middleware).
    "DIRECTIVES": {
        "default-src": [SELF],
        "script-src": [SELF],
        "style-src": [SELF, "'unsafe-inline'"],
        "img-src": [SELF, "data:"],
        "font-src": [SELF, "data:"],
        "connect-src": [SELF],
        "object-src": [NONE],
        "base-uri": [SELF],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
        "worker-src": [SELF, "blob:"],
    }
}
X_FRAME_OPTIONS = "DENY"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_AGE = 12 * 3600
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = TLS
CSRF_COOKIE_SAMESITE = "Lax"
SECURE_SSL_REDIRECT = TLS
SECURE_HSTS_SECONDS = 31_536_000 if TLS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = TLS
BEHIND_PROXY = env.bool("BEHIND_PROXY", False)
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if BEHIND_PROXY else None
LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = True
UNFOLD = {
    "LOGIN": {"form": "mlops.tenancy.login_form.LoginForm"},
    "SITE_TITLE": "Tiltyard",
    "SITE_HEADER": "Tiltyard",
    "SITE_SUBHEADER": "where challengers earn their place",
    "SITE_SYMBOL": "swords",
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": "mlops.admin_site.favicon"}],
    "SHOW_HISTORY": False,
    "SHOW_VIEW_ON_SITE": False,
    "BORDER_RADIUS": "8px",
    "SIDEBAR": SIDEBAR,
    "STYLES": ["mlops.admin_site.stylesheet"],
    "SCRIPTS": ["mlops.admin_site.script"],
}

# --- logs -------------------------------------------------------------------------------------------------------------------------------
LOG_FORMAT = env.str("LOG_FORMAT", "console" if sys.stderr.isatty() else "json")
LOG_LEVEL = env.str("LOG_LEVEL", "INFO")
_SHARED: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
]
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "json": {"()": structlog.stdlib.ProcessorFormatter, "processor": structlog.processors.JSONRenderer(), "foreign_pre_chain": _SHARED},
        "console": {
            "()": structlog.stdlib.ProcessorFormatter,
            # Rich's tracebacks show the values of variables, secrets too, and take most of a second of each refusal that Django logs.
            "processor": structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
            "foreign_pre_chain": [step for step in _SHARED if step is not structlog.processors.format_exc_info],
        },
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": LOG_FORMAT}},
    "root": {"handlers": ["stderr"], "level": LOG_LEVEL},
    "loggers": {"django.server": {"level": "WARNING"}, "celery": {"level": "WARNING"}, "kombu": {"level": "WARNING"}},
}
DJANGO_STRUCTLOG_TRUST_UPSTREAM_REQUEST_ID = True  # RequestIdMiddleware has checked it, or made it
structlog.configure(
    processors=[structlog.stdlib.filter_by_level, *_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
    logger_factory=structlog.stdlib.LoggerFactory(),
    cache_logger_on_first_use=True,
)
