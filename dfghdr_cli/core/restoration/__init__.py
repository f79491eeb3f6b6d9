"""What a camera or its files took or added: JPEG, noise, fringes, hot pixels."""
