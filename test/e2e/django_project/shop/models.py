"""One model for each kind of column that messages fill."""

import uuid

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now


class Customer(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    name = models.CharField(max_length=100)
    email = models.EmailField(unique=True, null=True)
    active = models.BooleanField(db_default=True)
    joined_at = models.DateTimeField(db_default=Now())


class Order(models.Model):
    # As Django makes it, the foreign key is checked at the end of a transaction.
    customer = models.ForeignKey(Customer, on_delete=models.CASCADE)
    number = models.CharField(max_length=20)
    amount = models.DecimalField(max_digits=12, decimal_places=2)
    paid = models.BooleanField(db_default=False)
    placed_at = models.DateTimeField()
    details = models.JSONField(null=True)
    tags = ArrayField(models.CharField(max_length=30), null=True)
    scan = models.BinaryField(null=True)
