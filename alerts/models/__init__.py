from alerts.models.alert import MLAlert, Occurrence
from alerts.models.notification import Channel, Delivery, Subscription

__all__ = ["Channel", "Delivery", "MLAlert", "Occurrence", "Subscription"]
