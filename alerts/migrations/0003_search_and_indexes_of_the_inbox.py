from django.db import migrations, models

import alerts.models.fields


def fill(apps, schema_editor):
    """Ranks, and the texts as near as SQL comes to `searchable`."""
    newline = "chr(10)" if schema_editor.connection.vendor == "postgresql" else "char(10)"
    schema_editor.execute(
        "UPDATE ml_alerts SET severity_rank = CASE severity WHEN 'critical' THEN 3 WHEN 'warning' THEN 2 ELSE 1 END,"
        f" search_text = substr(replace(lower(title || ' ' || message), {newline}, ' '), 1, 500)"
    )


class Migration(migrations.Migration):

    atomic = True
    dependencies = [
        ('alerts', '0002_model_index'),
        ('tenancy', '0001_initial'),
    ]

    operations = [
        migrations.RemoveIndex(model_name='mlalert', name='alerts_by_rank'),
        migrations.RemoveIndex(model_name='mlalert', name='alerts_by_status'),
        migrations.RemoveIndex(model_name='mlalert', name='alerts_by_type'),
        migrations.RemoveIndex(model_name='mlalert', name='alerts_by_model'),
        migrations.RemoveField(model_name='mlalert', name='severity_rank'),
        migrations.AddField(
            model_name='mlalert',
            name='severity_rank',
            field=alerts.models.fields.RankField(default=1, editable=False, help_text='1 for info, 3 for critical: what lists sort by.'),
            preserve_default=False,
        ),
        migrations.AddField(
            model_name='mlalert',
            name='search_text',
            field=alerts.models.fields.SearchField(default='', editable=False, help_text='Beginning of title and message as searches compare them.'),
            preserve_default=False,
        ),
        migrations.RunPython(fill, migrations.RunPython.noop, elidable=True),
    ]
