from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('tenancy', '0002_who_added_members_and_made_keys'),
    ]

    operations = [
        migrations.CreateModel(
            name='LoginRecord',
            fields=[
                ('name', models.CharField(max_length=80, primary_key=True, serialize=False)),
                ('failures', models.PositiveIntegerField(default=0)),
                ('last_at', models.DateTimeField()),
                ('blocked_until', models.DateTimeField(null=True)),
                ('known_until', models.DateTimeField(help_text='A pair that logged in: strangers elsewhere do not hold it up.', null=True)),
            ],
            options={
                'db_table': 'login_records',
                'indexes': [models.Index(fields=['last_at'], name='login_records_by_age')],
            },
        ),
    ]
