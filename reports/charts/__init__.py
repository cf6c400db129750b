"""What the page's charts are drawn from: every figure of a report by column, once."""
