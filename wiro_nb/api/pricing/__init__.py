"""Price tables of the service and estimates made from them."""
