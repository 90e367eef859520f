"""Devices and processes: how a program is mapped over them, who has which data.

device_map       maps a function over all devices by pmap or shard_map
hosts            moves arrays between devices and the hosts of all processes
placement        decides which device holds which example
expert_parallel  shards the parameters of experts over a second mesh axis
"""
