"""An ordinary project; where its database is, is said by the environment."""

import os

SECRET_KEY = "not a secret: for tests only"
USE_TZ = True
TIME_ZONE = "UTC"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = ["shop", "djkafka_admin"]

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": os.environ["SHOP_DB_HOST"],
        "NAME": os.environ["SHOP_DB_NAME"],
        "USER": os.environ["SHOP_DB_USER"],
    }
}

# The topics of this deployment begin with this.
SHOP_TOPIC_PREFIX = os.environ.get("SHOP_TOPIC_PREFIX", "shop.")
