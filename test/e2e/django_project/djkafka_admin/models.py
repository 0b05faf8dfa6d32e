"""djkafka's catalogs as models: the ORM, and so the admin, works with them as with any table."""

from django.contrib.postgres.fields import ArrayField
from django.db import models


class Consumer(models.Model):
    name = models.TextField(unique=True)
    # Filled by the database where they are left out.
    owner = models.CharField(max_length=63, null=True, blank=True)
    home = models.UUIDField(null=True, blank=True)
    group_id = models.TextField(null=True, blank=True)
    server = models.TextField(null=True, blank=True)
    workers = models.IntegerField(default=1)
    assignment = models.TextField(default="range")
    start_from = models.TextField(default="earliest")
    enabled = models.BooleanField(default=True)
    options = models.JSONField(default=dict, blank=True)
    on_error = models.TextField(default="dead_letter")
    notify = models.TextField(default="off")

    class Meta:
        managed = False
        db_table = "djkafka_consumer"


class Route(models.Model):
    consumer = models.ForeignKey(Consumer, on_delete=models.CASCADE, related_name="routes")
    topic = models.TextField()
    route_order = models.IntegerField(default=0)
    target = models.CharField(max_length=200, null=True, blank=True)
    handler = models.TextField(null=True, blank=True)
    operation = models.TextField(default="mirror")
    format = models.TextField(default="json")
    key_format = models.TextField(default="auto")
    key_columns = ArrayField(models.TextField(), null=True)
    columns = models.JSONField(null=True)
    include = ArrayField(models.TextField(), null=True)
    exclude = ArrayField(models.TextField(), null=True)
    filter = models.TextField(null=True, blank=True)
    deleted_field = models.TextField(null=True, blank=True, default="__deleted")
    search_path = models.TextField(null=True, blank=True)

    class Meta:
        managed = False
        db_table = "djkafka_route"


class Status(models.Model):
    consumer = models.TextField(primary_key=True)
    state = models.TextField()
    reason = models.TextField(null=True)
    applied = models.BigIntegerField(null=True)

    class Meta:
        managed = False
        db_table = "djkafka_status"
