"""Paths of alerts, below /api/v1/."""

from django.urls import re_path

from alerts.api import channels, inbox, subscriptions

_ALERT = r"^ml-alerts/(?P<alert_id>[^/]+)"
_CHANNEL = r"^subscriptions/channels/(?P<channel_id>[^/]+)"

urlpatterns = [
    re_path(r"^ml-alerts/?\Z", inbox.Alerts.as_view(), name="ml-alerts"),
    re_path(r"^ml-alerts/stats/?\Z", inbox.AlertStats.as_view(), name="ml-alert-stats"),
    re_path(rf"{_ALERT}/?\Z", inbox.AlertDetail.as_view(), name="ml-alert"),
    re_path(rf"{_ALERT}/read/?\Z", inbox.AlertRead.as_view(), name="ml-alert-read"),
    re_path(rf"{_ALERT}/action/?\Z", inbox.AlertAction.as_view(), name="ml-alert-action"),
    re_path(r"^subscriptions/?\Z", subscriptions.Subscriptions.as_view(), name="subscriptions"),
    re_path(r"^subscriptions/channels/?\Z", channels.Channels.as_view(), name="channels"),
    re_path(r"^subscriptions/deliveries/(?P<delivery_id>[^/]+)/resend/?\Z", channels.DeliveryResend.as_view(), name="delivery-resend"),
    re_path(rf"{_CHANNEL}/?\Z", channels.ChannelDetail.as_view(), name="channel"),
    re_path(rf"{_CHANNEL}/secret/?\Z", channels.ChannelSecret.as_view(), name="channel-secret"),
    re_path(rf"{_CHANNEL}/test/?\Z", channels.ChannelTest.as_view(), name="channel-test"),
    re_path(rf"{_CHANNEL}/deliveries/?\Z", channels.Deliveries.as_view(), name="channel-deliveries"),
    re_path(r"^subscriptions/(?P<subscription_id>[^/]+)/?\Z", subscriptions.SubscriptionDetail.as_view(), name="subscription"),
]
