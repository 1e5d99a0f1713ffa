"""Known physics that is subtracted from the labels before the fit and added back after it."""
