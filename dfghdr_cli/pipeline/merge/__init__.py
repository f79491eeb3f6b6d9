"""`dfghdr merge`: from photographs to files."""
