"""Devices and processes: how a program is mapped over them."""
