"""Runs detect-secrets as its command does, for scanners.test.js."""
import os
import sys

from detect_secrets.main import main

os.chdir(os.environ["FOLDER"])  # it scans what is below the folder that it runs in
sys.exit(main(["scan", "--all-files", "--plugin", os.environ["RULES"], "."]))
