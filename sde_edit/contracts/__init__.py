"""What every plug-in of a group owes, as checks that need no test runner."""
