import uuid

from django.db import migrations, models
from django.utils import timezone


class Migration(migrations.Migration):

    dependencies = [
        ('api', '0001_initial'),
    ]

    operations = [
        migrations.AddField(
            model_name='idempotencyrecord',
            name='claim',
            field=models.UUIDField(default=uuid.uuid4, help_text='Of the request that performs it; a later one takes over with another.'),
        ),
        migrations.AddField(
            model_name='idempotencyrecord',
            name='expires_at',
            field=models.DateTimeField(default=timezone.now, help_text='From then on a claim without an answer may be taken over.'),
            preserve_default=False,
        ),
        migrations.AddField(
            model_name='idempotencyrecord',
            name='performed_at',
            field=models.DateTimeField(null=True),
        ),
        migrations.AddIndex(
            model_name='idempotencyrecord',
            index=models.Index(fields=['created_at'], name='idempotency_by_age'),
        ),
    ]
