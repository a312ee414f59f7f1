"""A prognosis and a diagnosis as text, as JSON, and as one self-contained page with figures."""
