"""The lab: a small virtual machine whose kernel has device-mapper, LIO and nvmet.

``make lab`` builds it once, boots it, and runs the tests of ``tests/lab/guest`` in it.
"""
