"""`dfghdr eval`: methods compared on scenes with truth."""
