from collections import Counter

from django.db import migrations, models


def count(apps, schema_editor):
    """Count the versions that exist; from then on the services do."""
    version = apps.get_model("registry", "ModelVersion")
    model = apps.get_model("registry", "RegisteredModel")
    counted = {}
    for model_id, status in version._base_manager.values_list("model_id", "status").iterator(chunk_size=5000):
        counted.setdefault(model_id, Counter())[status] += 1
    for model_id, counts in counted.items():
        model._base_manager.filter(pk=model_id).update(status_counts=dict(counts))


class Migration(migrations.Migration):

    dependencies = [
        ("registry", "0002_labels"),
    ]

    operations = [
        migrations.AddField(
            model_name="registeredmodel",
            name="status_counts",
            field=models.JSONField(default=dict, editable=False, help_text="Versions by status, kept under the model's lock."),
        ),
        migrations.RunPython(count, migrations.RunPython.noop),
    ]
