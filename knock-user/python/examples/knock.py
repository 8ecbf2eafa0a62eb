"""Knocks on a door: knock.py INVITATION-FILE DOOR"""

import sys

from knockd_client import KnockError, Knocker

path, door = sys.argv[1:]
with open(path, encoding="utf-8") as file:
    knocker = Knocker(door, invitation=file.read())
try:
    addresses = knocker.knock("udp")
except KnockError as error:
    sys.exit(f"not knocked: {error}")
print("knocked on", *addresses)
