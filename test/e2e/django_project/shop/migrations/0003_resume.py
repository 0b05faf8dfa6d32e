"""What the later migrations add is there: messages may come."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("shop", "0002_djkafka")]

    operations = [
        migrations.RunSQL("SELECT djkafka_resume('shop')", migrations.RunSQL.noop),
    ]
