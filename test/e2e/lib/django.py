"""Runs the Django project of django_project/ against one of our databases."""

import json
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

from .postgres import Database

PROJECT = Path(__file__).parent.parent / "django_project"


class Project:
    """The project with its settings in the environment, as a deployment has them."""

    def __init__(self, db: Database, topic_prefix: str):
        self.topic_prefix = topic_prefix
        self.environment = os.environ | {
            "DJANGO_SETTINGS_MODULE": "project.settings",
            "PYTHONDONTWRITEBYTECODE": "1",
            "SHOP_DB_HOST": str(db.cluster.folder),
            "SHOP_DB_NAME": db.name,
            "SHOP_DB_USER": db.owner,
            "SHOP_TOPIC_PREFIX": topic_prefix,
        }

    def _run(self, *arguments: str, timeout: float) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=PROJECT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
        )
        assert done.returncode == 0, f"{' '.join(arguments)} failed:\n{done.stdout}"
        return done.stdout

    def manage(self, *arguments: str, timeout: float = 120) -> str:
        """manage.py with these arguments; its output, or a failure that shows it."""
        return self._run("manage.py", *arguments, timeout=timeout)

    def orm(self, code: str) -> Any:
        """Runs code in a process of its own, with Django set up; the value that it gives to answer()."""
        begin = (
            "import django, json; django.setup()\n"
            "from shop.models import *; from djkafka_admin.models import *\n"
            "def answer(value): print('ANSWER' + json.dumps(value, default=str))\n"
        )
        output = self._run("-c", begin + dedent(code), timeout=60)
        answers = [line[6:] for line in output.splitlines() if line.startswith("ANSWER")]
        return json.loads(answers[-1]) if answers else None
